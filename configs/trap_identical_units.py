"""A trap: all units of the hidden layer start alike, and no gradient ever tells them apart. One escape does.

python train.py --config=configs/trap_identical_units.py
python train.py --config=configs/trap_identical_units.py --config.escape.enabled=false --workdir=runs/trapped

The first shows the plateau, the escape and the descent in its curves.png; the second stays on the plateau. For MNIST
add --config.data.name=mnist --config.model.hidden_sizes=64 --config.train.epochs=10.

On 2 CPU cores: 12 s. Test accuracy 97 % with seed 0; without escape 43 %.
"""

from tricks.config import Config


def get_config() -> Config:
    config = Config()
    config.data.name = "digits"
    config.data.batch_size = 128
    config.model.hidden_sizes = (32,)
    config.model.activation = "tanh"
    config.model.batch_norm = False
    config.model.initializer = "identical"
    config.optimizer.name = "momentum"
    config.optimizer.learning_rate = 0.1
    config.train.epochs = 150
    config.checkpoint.every_epochs = 50
    config.escape.enabled = True
    return config
