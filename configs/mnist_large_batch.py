"""MNIST with a large batch (5400): the network F1 of Keskar et al., arXiv 1609.04836.

python scripts/prepare_data.py mnist
python train.py --config=configs/mnist_large_batch.py
"""

from tricks.config import Config


def get_config() -> Config:
    config = Config()
    config.data.name = "mnist"
    config.data.batch_size = 5400
    config.model.hidden_sizes = (512, 512, 512, 512, 512)
    config.model.batch_norm = True
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.train.epochs = 30
    config.early_stopping.patience = 10
    config.checkpoint.every_epochs = 5
    return config
