"""MNIST as in configs/mnist.py, with digits that are shifted, turned and resized anew at every step.

python scripts/prepare_data.py mnist
python train.py --config=configs/mnist_augmented.py

On 2 CPU cores: 2 to 3 minutes. Test accuracy over seeds 0 to 2: 99.30, 99.32, 99.30 %; expect a median of 99.25 % or
more. A step takes about 1.1 times what it takes without the changes.
"""

from tricks.config import Config


def get_config() -> Config:
    config = Config()
    config.data.name = "mnist"
    config.data.batch_size = 128
    config.data.validation_fraction = 0.05
    config.data.augment.shift = 2.0
    config.data.augment.rotation = 15.0
    config.data.augment.scale = 0.2
    config.model.hidden_sizes = (512, 512)
    config.model.batch_norm = True
    config.model.noise = 0.1
    config.model.input_noise = 0.3
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 5e-3
    config.schedule.shape = "cosine"
    config.schedule.warmup_steps = 200
    config.train.epochs = 60
    config.checkpoint.every_epochs = 5
    return config
