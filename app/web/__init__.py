"""The pages: templates, styles and scripts as they are sent, and the report as one file that needs nothing else."""
