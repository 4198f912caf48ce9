"""MNIST by a convolutional network of one's own, cnn.py beside this file.

python scripts/prepare_data.py mnist
python train.py --config=examples/own/mnist_cnn.py

On 2 CPU cores: 3 to 4 minutes. Test accuracy over seeds 0 to 2: 99.45, 99.32, 99.38 %.
"""

from tricks.config import Config


def get_config() -> Config:
    config = Config()
    config.data.name = "mnist"
    config.data.batch_size = 128
    config.data.validation_fraction = 0.05
    config.data.normalization = "channel"
    config.data.augment.shift = 2
    config.data.augment.rotation = 10
    config.data.augment.scale = 0.1
    config.model.build = "cnn.py:build"
    config.model.options = {"width": 8, "dropout": 0.2}
    config.optimizer.learning_rate = 3e-3
    config.schedule.shape = "cosine"
    config.train.epochs = 8
    return config
