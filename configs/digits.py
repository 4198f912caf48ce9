"""digits."""

from tricks.config import Config


def get_config() -> Config:
    return Config()
