"""The `openai` package against the embedded model."""

import os
import unittest

import openai

TEXT = "[[package]]\nname = \"serde\"\nversion = \"1.0.219\"\n\n[[package]]\nname = \"tokio\"\nversion = \"1.45.0\"\n"
QUESTION = "which version of tokio?"
ANSWER = "1.45.0"


def client(**options):
    base = os.environ["FULGURITE_ADDRESS"] + "/v1"
    options = {"api_key": os.environ["FULGURITE_KEY"], "max_retries": 0, **options}
    return openai.OpenAI(base_url=base, **options)


def messages(text=TEXT, question=QUESTION):
    return [{"role": "user", "content": f"{text}\n{question}"}]


class Chat(unittest.TestCase):
    def test_whole(self):
        got = client().chat.completions.create(model="nano", messages=messages())
        self.assertEqual(got.choices[0].message.content, ANSWER)
        self.assertEqual(got.choices[0].finish_reason, "stop")
        self.assertEqual(got.usage.total_tokens, got.usage.prompt_tokens + got.usage.completion_tokens)
        self.assertTrue(got.system_fingerprint.startswith("fp_"))

    def test_stream(self):
        stream = client().chat.completions.create(
            model="nano", messages=messages(), stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, ANSWER)
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, len(ANSWER))

    def test_helpers_for_streams(self):
        with client().chat.completions.stream(model="nano", messages=messages()) as stream:
            final = stream.get_final_completion()
        self.assertEqual(final.choices[0].message.content, ANSWER)

    def test_files_and_absent(self):
        import base64

        data = "data:text/plain;base64," + base64.b64encode(TEXT.encode()).decode()
        parts = [
            {"type": "file", "file": {"filename": "Cargo.lock", "file_data": data}},
            {"type": "text", "text": QUESTION},
        ]
        chat = client().chat.completions
        got = chat.create(model="nano", messages=[{"role": "user", "content": parts}])
        self.assertEqual(got.choices[0].message.content, ANSWER)
        got = chat.create(model="nano", messages=messages(question="which version of rayon?"))
        self.assertEqual(got.choices[0].message.content, "not in the text")

    def test_logprobs_and_choices(self):
        got = client().chat.completions.create(
            model="nano", messages=messages(), n=2, logprobs=True, top_logprobs=3
        )
        self.assertEqual(len(got.choices), 2)
        for choice in got.choices:
            told = choice.logprobs.content
            self.assertEqual("".join(t.token for t in told), ANSWER)
            self.assertEqual({len(t.top_logprobs) for t in told}, {3})

    def test_what_is_read_is_not_read_again(self):
        chat = client().chat.completions
        text = TEXT * 40
        raw = chat.with_raw_response.create(model="nano", messages=messages(text))
        self.assertRegex(raw.headers["x-fulgurite-cache"], r"^cached=\d+; miss=")
        first = raw.parse()
        talk = messages(text) + [
            {"role": "assistant", "content": first.choices[0].message.content},
            {"role": "user", "content": "which version of serde?"},
        ]
        second = chat.create(model="nano", messages=talk)
        self.assertEqual(second.choices[0].message.content, "1.0.219")
        known = second.usage.prompt_tokens_details.cached_tokens
        if os.environ.get("EXPECT_CACHE", "1") == "1":
            self.assertGreaterEqual(known, len(text))


class Others(unittest.TestCase):
    def test_completions(self):
        prompt = f"<|document|>{TEXT}<|question|>{QUESTION}<|answer|>"
        got = client().completions.create(
            model="nano", prompt=prompt, echo=True, logprobs=2, max_tokens=6
        )
        self.assertTrue(got.choices[0].text.endswith(ANSWER))
        told = got.choices[0].logprobs
        self.assertEqual(len(told.tokens), got.usage.prompt_tokens + 6)
        self.assertIsNone(told.token_logprobs[0])
        self.assertTrue(all(value <= 0 for value in told.token_logprobs[1:]))
        pieces = client().completions.create(model="nano", prompt=prompt, max_tokens=6, stream=True)
        self.assertEqual("".join(p.choices[0].text for p in pieces), ANSWER)

    def test_embeddings(self):
        texts = [TEXT, TEXT + "\n", "Once upon a time there was a king."]
        # The package asks for base64 unless it is told otherwise.
        for format in [{}, {"encoding_format": "float"}]:
            got = client().embeddings.create(model="nano", input=texts, **format)
            vectors = [one.embedding for one in got.data]
            self.assertEqual([one.index for one in got.data], [0, 1, 2])
            same = lambda a, b: sum(x * y for x, y in zip(vectors[a], vectors[b]))
            self.assertAlmostEqual(same(0, 0), 1, places=5)
            self.assertGreater(same(0, 1), same(0, 2))
        self.assertEqual(got.usage.prompt_tokens, sum(len(text) for text in texts))
        alone = client().embeddings.create(model="nano", input=texts[2], encoding_format="float")
        self.assertEqual(alone.data[0].embedding, vectors[2])

    def test_responses(self):
        responses = client().responses
        got = responses.create(model="nano", input=messages())
        self.assertEqual(got.output_text, ANSWER)
        self.assertEqual(got.status, "completed")
        more = responses.create(
            model="nano", input="which version of serde?", previous_response_id=got.id
        )
        self.assertEqual(more.output_text, "1.0.219")
        self.assertEqual(responses.retrieve(more.id).output_text, "1.0.219")
        with responses.stream(model="nano", input=messages()) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        self.assertEqual(kinds[0], "response.created")
        self.assertEqual(kinds[-1], "response.completed")
        self.assertEqual(final.output_text, ANSWER)
        responses.delete(got.id)
        with self.assertRaises(openai.NotFoundError):
            responses.retrieve(got.id)

    def test_models(self):
        models = client().models
        names = ["nano", "nano-video"]
        self.assertEqual([model.id for model in models.list()], names)
        self.assertEqual([models.retrieve(name).id for name in names], names)

    def test_videos(self):
        videos = client().videos
        made = videos.create_and_poll(prompt="a red circle moves left", extra_body={"seed": 7})
        self.assertEqual((made.status, made.progress, made.size), ("completed", 100, "64x64"))
        clip = videos.download_content(made.id).read()
        self.assertEqual(clip[4:8], b"ftyp")
        self.assertIn(made.id, [video.id for video in videos.list()])
        self.assertEqual(videos.retrieve(made.id).prompt, "a red circle moves left")
        videos.delete(made.id)
        with self.assertRaises(openai.NotFoundError):
            videos.retrieve(made.id)
        with self.assertRaises(openai.BadRequestError) as refused:
            videos.create(prompt="a red dragon")
        self.assertEqual(refused.exception.param, "prompt")

    def test_sessions(self):
        chat = client().chat.completions
        session = {"session": {"name": "python"}}
        chat.create(model="nano", messages=messages(), extra_body=session)
        second = [{"role": "user", "content": "which version of serde?"}]
        got = chat.create(model="nano", messages=second, extra_body=session)
        self.assertEqual(got.choices[0].message.content, "1.0.219")
        listed = client().get("/sessions", cast_to=object)
        self.assertIn("python", [each["id"] for each in listed["data"]])
        client().delete("/sessions/python", cast_to=object)


class Errors(unittest.TestCase):
    def test_kinds(self):
        create = client().chat.completions.create
        with self.assertRaises(openai.BadRequestError) as caught:
            create(model="nano", messages=messages(), temperature=3)
        self.assertEqual(caught.exception.param, "temperature")
        self.assertTrue(caught.exception.request_id)
        with self.assertRaises(openai.NotFoundError) as caught:
            create(model="other", messages=messages())
        self.assertEqual(caught.exception.code, "model_not_found")
        with self.assertRaises(openai.AuthenticationError):
            client(api_key="wrong").models.list()
        with self.assertRaises(openai.BadRequestError):
            create(model="nano", messages=messages(), response_format={"type": "json_object"},
                   tools=[{"type": "function", "function": {"name": "f"}}])


if __name__ == "__main__":
    unittest.main()
