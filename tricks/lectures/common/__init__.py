"""What the experiments share: what one is, trainings, statistics, figures, files and the page."""
