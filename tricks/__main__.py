"""`python -m tricks COMMAND …`: the console command where it is not on the path."""

from tricks.commands import dispatch

if __name__ == "__main__":
    dispatch.main("python -m tricks")
