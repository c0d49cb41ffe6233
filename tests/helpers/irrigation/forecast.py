"""Asks a weather service whether it will rain, which tests must not."""

from __future__ import annotations

import json
import urllib.request

URL = "https://forecast.invalid/v1/today"


def rain_expected(site: str) -> bool:
    with urllib.request.urlopen(f"{URL}?site={site}", timeout=30) as answer:
        return bool(json.load(answer)["rain"])
