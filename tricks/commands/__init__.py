"""The commands, each a module with its flags and a function `run`; `dispatch` starts them by their names."""
