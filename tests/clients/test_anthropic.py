"""The `anthropic` package against the embedded model."""

import os
import unittest

import anthropic

from test_openai import ANSWER, messages


def client(**options):
    options = {"api_key": os.environ["FULGURITE_KEY"], "max_retries": 0, **options}
    return anthropic.Anthropic(base_url=os.environ["FULGURITE_ADDRESS"], **options)


class Messages(unittest.TestCase):
    def test_whole(self):
        got = client().messages.create(model="nano", max_tokens=64, messages=messages())
        self.assertEqual(got.content[0].text, ANSWER)
        self.assertEqual(got.stop_reason, "end_turn")
        self.assertEqual(got.usage.output_tokens, len(ANSWER))

    def test_stream(self):
        with client().messages.stream(model="nano", max_tokens=64, messages=messages()) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual((text, final.content[0].text), (ANSWER, ANSWER))
        self.assertEqual(final.usage.output_tokens, len(ANSWER))

    def test_stop_sequences_and_length(self):
        create = client().messages.create
        got = create(model="nano", max_tokens=64, messages=messages(), stop_sequences=["45"])
        self.assertEqual((got.content[0].text, got.stop_sequence), ("1.", "45"))
        got = create(model="nano", max_tokens=2, messages=messages())
        self.assertEqual(got.stop_reason, "max_tokens")

    def test_counting(self):
        count = client().messages.count_tokens(model="nano", messages=messages())
        got = client().messages.create(model="nano", max_tokens=1, messages=messages())
        read = got.usage.input_tokens + got.usage.cache_read_input_tokens
        self.assertEqual(count.input_tokens, read)

    def test_errors(self):
        with self.assertRaises(anthropic.BadRequestError) as caught:
            client().messages.create(model="nano", max_tokens=0, messages=messages())
        self.assertIn("max_tokens", str(caught.exception))
        with self.assertRaises(anthropic.NotFoundError):
            client().messages.create(model="other", max_tokens=1, messages=messages())
        with self.assertRaises(anthropic.AuthenticationError):
            client(api_key="wrong").messages.create(model="nano", max_tokens=1, messages=messages())


if __name__ == "__main__":
    unittest.main()
