"""What schemathesis is told of requests that it makes: the model there is, and work that ends."""

import schemathesis


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict):
        # A model that is not there would be all that is ever said.
        if isinstance(body.get("model"), str):
            body["model"] = "nano"
        for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
            if isinstance(body.get(name), int) and body[name] > 16:
                body[name] = 16
        for name in ("n", "best_of"):
            if isinstance(body.get(name), int) and body[name] > 4:
                body[name] = 4
    return body
