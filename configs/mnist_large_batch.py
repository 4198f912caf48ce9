"""MNIST with a large batch (5400): the network F1 of Keskar et al., arXiv 1609.04836.

python scripts/prepare_data.py mnist
python train.py --config=configs/mnist_large_batch.py

On 2 CPU cores: 27 to 35 s, stopped after 17 to 19 epochs of 10 updates. Test accuracy over seeds 0 to 2: median
97.66 %, from 97.62 % to 97.76 %: below the small batch in every seed, as in the paper. Beside it:
configs/mnist_small_batch.py.
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
