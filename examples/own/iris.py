"""A table from a CSV file whose target is a text: species of iris by the measures of their flowers.

python train.py --config=examples/own/iris.py

A few seconds. Test accuracy over seeds 0 to 4, on 30 flowers: 93, 97, 93, 93, 93 %.
"""

from tricks.config import Config


def get_config() -> Config:
    config = Config()
    config.data.name = "iris.csv"
    config.data.target = "species"
    config.data.batch_size = 16
    config.data.augment.noise = 0.3
    config.model.hidden_sizes = (32,)
    config.model.batch_norm = False
    config.train.epochs = 60
    config.schedule.shape = "cosine"
    config.optimizer.learning_rate = 1e-2
    return config
