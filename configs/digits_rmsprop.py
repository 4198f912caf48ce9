"""Digits with RMSProp: a decaying mean of squared gradients in the denominator.

python train.py --config=configs/digits_rmsprop.py
"""

from tricks.config import Config


def get_config() -> Config:
    config = Config()
    config.data.name = "digits"
    config.model.hidden_sizes = (128, 128)
    config.optimizer.name = "rmsprop"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.second_moment_decay = 0.9
    config.train.epochs = 30
    config.early_stopping.patience = 10
    config.checkpoint.every_epochs = 5
    return config
