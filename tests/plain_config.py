"""The defaults of every field, so that tests do not depend on what the shipped configs hold."""

from tricks.config import Config


def get_config() -> Config:
    return Config()
