"""The experiments that come with the package: `tricks train --config=digits`."""
