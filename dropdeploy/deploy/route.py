"""The road that an app's deploys take, as it is configured.   (pure)"""

from __future__ import annotations

from datetime import datetime

from dropdeploy.deploy import plan
from dropdeploy.deploy.phase import Phase, Way
from dropdeploy.deploy.state import Deploy
from dropdeploy.model.app import App, Strategy
from dropdeploy.model.request import Marker, Upload


def set_out(app: App, number: int, request: Upload | Marker, started: datetime) -> Deploy:
    """The first state of a deploy of this app."""
    return plan.begin(
        id=number,
        app=app.name,
        request=request,
        started=started,
        on_failure=app.on_failure,
        without=unconfigured(app),
        way=way_of(app),
    )


def unconfigured(app: App) -> frozenset[Phase]:
    """The phases that a deploy of this app does without."""
    configured = {
        Phase.HOOKS: bool(app.hooks.before_swap),
        Phase.TRIAL: bool(app.trial.unit),
        Phase.AFTER_LIVE: bool(app.hooks.after_live),
    }
    return frozenset(phase for phase, is_there in configured.items() if not is_there)


def way_of(app: App) -> Way:
    """How releases of this app go live."""
    return Way.HANDOVER if app.strategy is Strategy.HANDOVER else Way.IN_PLACE
