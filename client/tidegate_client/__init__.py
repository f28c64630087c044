"""Send predictions and labels to Tidegate from the service that makes them, without it noticing.

>>> import tidegate_client
>>> tidegate = tidegate_client.connect("http://tidegate:8321", "awesomeshoes-assistant")
>>> tidegate.log("b7", "returns", scores={"fit": 0.1, "returns": 0.9}, features={"channel": "web"})  # doctest: +SKIP

and when the true answer is known, `tidegate.label("b7", "fit")`.
"""

from tidegate_client.asgi import PredictionMiddleware, RequestPredictions, current
from tidegate_client.assignment import Assignment, Assignments
from tidegate_client.client import Client, connect
from tidegate_client.errors import Away, BadOption, BadRow, ClientError, NotTaken, Refused
from tidegate_client.estimators import Monitored, new_ids, wrap
from tidegate_client.replies import Answer, Rejection
from tidegate_client.rows import Label, Prediction
from tidegate_client.tally import Counts

__all__ = [
    "Answer",
    "Assignment",
    "Assignments",
    "Away",
    "BadOption",
    "BadRow",
    "Client",
    "ClientError",
    "Counts",
    "Label",
    "Monitored",
    "NotTaken",
    "Prediction",
    "PredictionMiddleware",
    "Refused",
    "Rejection",
    "RequestPredictions",
    "connect",
    "current",
    "new_ids",
    "wrap",
]
