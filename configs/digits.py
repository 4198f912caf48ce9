"""Real handwritten digits of 8x8 pixels, bundled with scikit-learn: batch normalization, dropout, Adam, cosine decay.

python train.py --config=configs/digits.py

On 2 CPU cores: 3 s of training, 8 s from shell to shell. Test accuracy over seeds 0 to 4: median 98.33 %, from
98.33 % to 99.16 %.
"""

from tricks.config import Config


def get_config() -> Config:
    config = Config()
    config.data.name = "digits"
    config.data.batch_size = 32
    config.model.hidden_sizes = (128, 128)
    config.model.batch_norm = True
    config.model.dropout = 0.2
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 2e-3
    config.schedule.shape = "cosine"
    config.train.epochs = 40
    config.early_stopping.patience = 15
    config.checkpoint.every_epochs = 5
    return config
