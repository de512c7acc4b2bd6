"""One day as one page: queries of the warehouse, and HTML templates for their rows. Independent of Dagster."""
