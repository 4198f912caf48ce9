"""A regression with two outputs: where the ink of a digit lies, from data that a function makes, ink.py:load.

python train.py --config=examples/own/ink_place.py

A few seconds. Test loss over seeds 0 to 4: 0.015 to 0.020; the largest of the two errors 0.2 standard deviations.
"""

from tricks.config import Config


def get_config() -> Config:
    config = Config()
    config.data.name = "ink.py:load"
    config.data.options = {"noise": 1.0}
    config.loss.name = "robust.py:huber"
    config.loss.options = {"width": 1.0}
    config.early_stopping.metric = "loss"
    config.model.hidden_sizes = (64,)
    config.optimizer.learning_rate = 3e-3
    config.schedule.shape = "cosine"
    config.train.epochs = 30
    return config
