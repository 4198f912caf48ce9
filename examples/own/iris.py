"""A table from a CSV file whose target is a text: species of iris by the measures of their flowers.

python train.py --config=examples/own/iris.py
"""

from tricks.config import Config


def get_config() -> Config:
    config = Config()
    config.data.name = "iris.csv"
    config.data.target = "species"
    config.data.batch_size = 16
    config.data.augment.noise = 0.1
    config.model.hidden_sizes = (32,)
    config.model.batch_norm = False
    config.train.epochs = 40
    config.schedule.shape = "cosine"
    config.optimizer.learning_rate = 5e-3
    return config
