"""Pictures, by the packages `openai` and `anthropic`, against the embedded model."""

import base64
import os
import struct
import unittest
import zlib

import openai

import test_anthropic
import test_openai

MODEL = "nano"
QUESTION = "what colour is the circle?"
RED, WHITE = bytes([220, 30, 30]), bytes([255, 255, 255])


def circle(color=RED, side=126):
    """A PNG of a filled circle on white."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    def row(y):
        inside = lambda x: (x - side / 2) ** 2 + (y - side / 2) ** 2 < (side / 3) ** 2
        return b"\0" + b"".join(color if inside(x) else WHITE for x in range(side))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(map(row, range(side))))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


DATA = base64.b64encode(circle()).decode()
URL = f"data:image/png;base64,{DATA}"


def chat(url=URL, question=QUESTION):
    parts = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": question},
    ]
    return [{"role": "user", "content": parts}]


def anthropic_messages(source):
    blocks = [{"type": "image", "source": source}, {"type": "text", "text": QUESTION}]
    return [{"role": "user", "content": blocks}]


class Pictures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        card = test_openai.client().models.retrieve(MODEL)
        if "image" not in card.input_modalities:
            raise unittest.SkipTest(f"`{MODEL}` does not see: it was built without a tower")

    def test_chat(self):
        create = test_openai.client().chat.completions.create
        got = create(model=MODEL, messages=chat())
        self.assertEqual(got.choices[0].message.content, "red")
        # A second question about the same picture reads none of it again.
        again = create(model=MODEL, messages=chat(question="which colour is the circle?"))
        rows = got.usage.prompt_tokens - len(QUESTION) - 3
        self.assertGreater(rows, 0)
        if os.environ.get("EXPECT_CACHE", "1") == "1":
            self.assertGreaterEqual(again.usage.prompt_tokens_details.cached_tokens, rows)

    def test_stream(self):
        create = test_openai.client().chat.completions.create
        chunks = create(model=MODEL, messages=chat(), stream=True)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, "red")

    def test_responses(self):
        parts = [
            {"type": "input_image", "image_url": URL, "detail": "auto"},
            {"type": "input_text", "text": QUESTION},
        ]
        got = test_openai.client().responses.create(
            model=MODEL, input=[{"role": "user", "content": parts}]
        )
        self.assertEqual(got.output_text, "red")
        # What was seen is still there.
        got = test_openai.client().responses.create(
            model=MODEL, input=QUESTION, previous_response_id=got.id
        )
        self.assertEqual(got.output_text, "red")

    def test_session(self):
        create = test_openai.client().chat.completions.create
        session = {"session": {"name": "pictures"}}
        create(model=MODEL, messages=chat(), extra_body=session)
        second = [{"role": "user", "content": QUESTION}]
        got = create(model=MODEL, messages=second, extra_body=session)
        self.assertEqual(got.choices[0].message.content, "red")
        test_openai.client().delete("/sessions/pictures", cast_to=object)

    def test_anthropic(self):
        source = {"type": "base64", "media_type": "image/png", "data": DATA}
        messages = anthropic_messages(source)
        client = test_anthropic.client()
        got = client.messages.create(model=MODEL, max_tokens=64, messages=messages)
        self.assertEqual(got.content[0].text, "red")
        count = client.messages.count_tokens(model=MODEL, messages=messages)
        read = got.usage.input_tokens + got.usage.cache_read_input_tokens
        self.assertEqual(count.input_tokens, read)

    def test_what_is_wrong_is_said(self):
        create = test_openai.client().chat.completions.create
        for url, words in [
            ("https://example.org/a.png", "nothing is fetched here"),
            ("data:image/png;base64,AAAA", "expected"),
            (URL[:-400], ""),
        ]:
            with self.assertRaises(openai.BadRequestError) as caught:
                create(model=MODEL, messages=chat(url))
            self.assertIn(words, str(caught.exception))
            self.assertIn("messages[0].content[0]", caught.exception.param)


if __name__ == "__main__":
    unittest.main()
