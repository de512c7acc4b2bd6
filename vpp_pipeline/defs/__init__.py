"""What Dagster sees: thin assets over the domain, the optimiser and the warehouse."""

import warnings

from dagster import BetaWarning, PreviewWarning

# the beta parts that we use (owners of assets, multi-dimensional mappings) are pinned by the lock file and tested
warnings.filterwarnings("ignore", category=BetaWarning)
warnings.filterwarnings("ignore", category=PreviewWarning)
