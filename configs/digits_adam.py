"""Digits with Adam: RMSProp with momentum and bias correction.

python train.py --config=configs/digits_adam.py

On 2 CPU cores: 1 to 3 s of training. Test accuracy over seeds 0 to 4: median 98.61 %, from 97.49 % to 99.16 %.
"""

from tricks.config import Config


def get_config() -> Config:
    config = Config()
    config.data.name = "digits"
    config.model.hidden_sizes = (128, 128)
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.train.epochs = 30
    config.early_stopping.patience = 10
    config.checkpoint.every_epochs = 5
    return config
