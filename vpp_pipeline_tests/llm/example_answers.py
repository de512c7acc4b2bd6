"""Makes the package's example_answers.jsonl again, so that `bids --engine llm --llm-mode replay` works without a key.

    python -m vpp_pipeline_tests.llm.example_answers

The default day is negotiated through the real SDK (extra `gemini`) against our local server, whose answers are made
from a seed. No language model wrote any of them, and the file says so.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from vpp_pipeline.core.paths import REQUESTS, example_file
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.llm.adviser import ModelAdviser
from vpp_pipeline.llm.gateway import Gateway
from vpp_pipeline.llm.providers import PROVIDERS
from vpp_pipeline.llm.session import EXAMPLE_ANSWERS
from vpp_pipeline.llm.store import CallStore, export_answers
from vpp_pipeline.pipeline import negotiate_in_memory
from vpp_pipeline.settings import Settings
from vpp_pipeline_tests.llm.fake_gemini import FakeGemini
from vpp_pipeline_tests.llm.pretended_advice import seeded

EXAMPLE_DAY = date(2023, 8, 15)
LABEL = "Made from a seed by our own local test server (vpp_pipeline_tests/llm). No language model wrote these answers."


def main() -> None:
    """Negotiate the example day once, and write what was answered."""
    file = example_file(EXAMPLE_ANSWERS)
    settings = Settings.model_validate({"negotiation": {"engine": "llm"}, "llm": {"mode": "live"}})
    inputs = DayInputs(EXAMPLE_DAY, settings, None, None, example_file(REQUESTS)).tables()
    with FakeGemini(lambda request: seeded(json.loads(request.prompt))) as server, TemporaryDirectory() as folder:
        store = CallStore(Path(folder) / "llm.sqlite")
        provider = PROVIDERS[settings.llm.provider]("no key is needed here", server.url)
        adviser = ModelAdviser(Gateway(settings.llm, store, provider), settings.negotiation, settings.llm)
        negotiate_in_memory(inputs, settings, adviser)
        if adviser.tally.fallback_fraction:
            sys.exit(f"failed: {adviser.tally}")
        print(f"wrote {export_answers(store, file, LABEL)} answers to {file}")
        store.close()


if __name__ == "__main__":
    main()
