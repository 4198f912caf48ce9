"""Digits with the root mean square of all gradients so far in the denominator, and a rate of eta / sqrt(t + 1).

python train.py --config=configs/digits_root_mean_square.py

On 2 CPU cores: 1 to 3 s of training. Test accuracy over seeds 0 to 4: median 98.33 %, from 98.05 % to 98.61 %.
"""

from tricks.config import Config


def get_config() -> Config:
    config = Config()
    config.data.name = "digits"
    config.model.hidden_sizes = (128, 128)
    config.optimizer.name = "root_mean_square"
    config.optimizer.learning_rate = 0.02
    config.schedule.shape = "inverse_sqrt"
    config.train.epochs = 30
    config.early_stopping.patience = 10
    config.checkpoint.every_epochs = 5
    return config
