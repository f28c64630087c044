"""Record what BentoML's own monitoring writes, for tests/test_imports.py.

python -m venv /tmp/bento && /tmp/bento/bin/pip install bentoml
/tmp/bento/bin/python tests/conventions/record_bentoml.py tests/conventions/bentoml
"""

import shutil
import sys
import tempfile
from pathlib import Path

import bentoml
from bentoml._internal.context import trace_context

ROWS = [(5.1, 3.5, "web", "setosa"), (6.7, 3.1, "app", "versicolor"), (6.3, 3.3, "web", "virginica")]


def main() -> None:
    aim = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        options = {"log_path": folder}
        for length, width, channel, species in ROWS:
            with bentoml.monitor("iris", monitor_class="default", monitor_options=options) as monitor:
                monitor.log(length, name="sepal_length", role="feature", data_type="numerical")
                monitor.log(width, name="sepal_width", role="feature", data_type="numerical")
                monitor.log(channel, name="channel", role="feature", data_type="categorical")
                monitor.log([length, width], name="both", role="feature", data_type="numerical_sequence")
                monitor.log(species, name="species", role="prediction", data_type="categorical")
        # A service sets it for each request that it answers.
        trace_context.request_id = 12847
        with bentoml.monitor("iris", monitor_class="default", monitor_options=options) as monitor:
            for place, (name, role) in enumerate(
                (("sepal_length", "feature"), ("sepal_width", "feature"), ("channel", "feature"))
            ):
                monitor.log_batch([row[place] for row in ROWS], name=name, role=role, data_type="numerical")
            both = [list(row[:2]) for row in ROWS]
            monitor.log_batch(both, name="both", role="feature", data_type="numerical_sequence")
            monitor.log_batch([row[3] for row in ROWS], name="species", role="prediction", data_type="categorical")
        shutil.rmtree(aim, ignore_errors=True)
        shutil.copytree(Path(folder) / "iris", aim)


if __name__ == "__main__":
    main()
