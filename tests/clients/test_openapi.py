"""Requests made from the OpenAPI document: none may be a failure of the server's, and every answer is
of the form that the document says."""

import os
import subprocess
import sys
import tempfile
import unittest

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
]
# About as many requests for each operation, of which there are 24.
EXAMPLES = "400" if os.environ.get("RUN_SLOW_TESTS") == "1" else "25"


class OpenApi(unittest.TestCase):
    def test_requests_from_the_document(self):
        address, key = os.environ["FULGURITE_ADDRESS"], os.environ["FULGURITE_KEY"]
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json"]
        command += ["--header", f"x-api-key: {key}", "--checks", ",".join(CHECKS)]
        command += ["--max-examples", EXAMPLES, "--seed", "1", "--phases", "examples,coverage,fuzzing"]
        command += ["--request-timeout", "60", "--max-failures", "5", "--no-color"]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks"}
        # It leaves files where it runs.
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)
        print(done.stdout[-1500:])
        self.assertEqual(done.returncode, 0, done.stdout[-20000:] + done.stderr[-5000:])


if __name__ == "__main__":
    unittest.main()
