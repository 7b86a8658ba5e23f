"""The part of Airflow that the example uses, and `python -m airflow dags test ID` to run it."""
