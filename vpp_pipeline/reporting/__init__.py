"""One day as one page: questions to the warehouse, and the HTML that shows their answers. Knows nothing of Dagster."""
