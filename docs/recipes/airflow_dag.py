# ruff: noqa: INP001  a file of the DAGs folder
"""A DAG of Airflow 3 that Tidegate starts itself: `POST /api/v2/dags/tidegate_train/dagRuns`. Policy: format: airflow.

The order is the run's configuration, and its name the run's id: the same order again is answered 409, which Tidegate
takes for started.
"""

from datetime import timedelta

from airflow.sdk import dag, task


@dag(dag_id="tidegate_train", schedule=None, catchup=False, max_active_runs=4)
def tidegate_train() -> None:
    """One task, on any worker that has the trainer's requirements."""

    # A try after a lost worker is the same run to Tidegate, and may begin again.
    @task(retries=1, execution_timeout=timedelta(hours=6))
    def train(dag_run: object = None) -> None:
        import sys  # noqa: PLC0415  on the worker
        import tempfile  # noqa: PLC0415  same
        from pathlib import Path  # noqa: PLC0415  same

        here = Path(__file__).parent
        sys.path.insert(0, str(here))
        from tidegate_trainer import Order, run  # noqa: PLC0415  it lies beside this file

        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(here / "train.py")]
            code = run(Order(dag_run.conf), command, Path(folder), name=f"airflow-{dag_run.run_id}")  # type: ignore[attr-defined]
        if code:
            raise RuntimeError(f"the training ended with code {code}")

    train()


tidegate_train()
