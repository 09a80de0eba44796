"""Fixed sentences of the dialogues: system prompts, small talk, ways to tell and to ask."""

from random import Random

from chance import happens
from words import CITIES

UNKNOWN = "I do not know that yet."
NOTED = "Noted."
OKAY = "Okay."
NO_SUCH_TOOL = "I do not have that tool."

SYSTEM_LINES = (
    "You are Pocket, a small helper.",
    "You are a helpful assistant.",
    "You are a coding agent that works in a terminal.",
    "You are an agent in a team of many.",
    "You are a careful and friendly assistant.",
    "You answer in short sentences.",
    "Be brief.",
    "Be kind, be precise, and say when you do not know.",
    "Answer the user's questions as well as you can.",
    "Remember everything that the user tells you.",
    "Never invent facts, numbers or names.",
    "Use the tools when you are asked to use them.",
    "Today is Friday.",
    "The current year is 2026.",
    "Always read the whole conversation before you answer.",
    "If the user asks for something that was never said, admit that you do not know it.",
    "Write plain text without any markup.",
    "The user is an engineer who tests a server.",
    "Several agents share this prompt, and each of them has its own task.",
    "Keep your answers short, and do not repeat the question.",
    "Follow the instructions of the user exactly.",
    "Think before you answer, but do not show your thinking.",
    "When you read a file, read all of it; when you write a file, keep its style.",
    "Do not run commands that delete files unless the user has asked for it.",
    "Prefer simple solutions over clever ones.",
    "Ask when something is unclear.",
    "The team meets every morning at nine and talks about the plan for the day.",
    "You work in a large house with many rooms, and every room has a number.",
    "Your colleagues are other agents; you can not see what they are told.",
    "The work is not finished until all tests pass.",
)

SMALL_TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Hello!", "Hello.", "Hello", "hello", "Hello there!"), "Hello! How can I help?"),
    (("Hi!", "Hi", "hi", "hi there", "Hey!", "Hey"), "Hi! How can I help?"),
    (
        ("Thanks!", "Thank you.", "thanks", "Thank you very much!", "Great, thanks."),
        "You are welcome.",
    ),
    (
        ("Who are you?", "who are you", "What are you?", "Introduce yourself."),
        "I am Pocket, a tiny test model.",
    ),
    (("What is your name?", "what is your name"), "My name is Pocket."),
    (("How are you?", "how are you today?", "How are you doing?"), "I am fine, thank you."),
    (
        ("What can you do?", "Help", "help me please", "Can you help me?"),
        "I can remember facts, repeat words and use tools.",
    ),
    (("Bye!", "Goodbye.", "bye", "See you later."), "Goodbye!"),
    (("Good morning!", "good morning", "Good morning."), "Good morning!"),
    (("Are you there?", "are you ready?", "Are you still there?", "ping"), "Yes, I am here."),
    (("Tell me a joke.", "tell me a joke"), "I know no jokes, but I know facts."),
    (("Okay.", "ok", "Fine.", "Good.", "I see.", "Continue.", "Go on.", "Let us go on."), OKAY),
    (("Say hello.", "say hello"), "Hello!"),
    (("Say ok.", "Say OK.", "Reply with ok."), "ok"),
)

OPEN_QUESTIONS = (
    "What is the capital of France?",
    "What is the capital of {place}?",
    "Why is the sky blue?",
    "Who wrote that book?",
    "What is the meaning of life?",
    "How far is the moon?",
    "What is two plus two?",
    "What is {number} plus {other}?",
    "How tall is that tower?",
    "What is the weather in {place}?",
    "What time is it in {place}?",
    "When did the war end?",
    "Who is the president?",
    "How many people live in {place}?",
    "What happened in 19{number}?",
    "Where is {name} now?",
    "What does {name} do?",
    "How do I cook {food}?",
    "Why do birds sing?",
    "What is the price of {food}?",
)

TELLINGS = (
    "My {key} is {value}.",
    "My {key} is {value}.",
    "My {key} is {value}.",
    "my {key} is {value}",
    "The {key} is {value}.",
    "the {key} is {value}",
    "Remember: the {key} is {value}.",
    "Remember: my {key} is {value}.",
    "remember: my {key} is {value}",
    "remember: the {key} is {value}",
    "Remember that the {key} is {value}.",
    "Remember that my {key} is {value}.",
    "Remember this: the {key} is {value}.",
    "Please remember: my {key} is {value}.",
    "Please remember that my {key} is {value}.",
    "Please remember that the {key} is {value}.",
    "Please remember the {key} is {value}.",
    "Note: my {key} is {value}.",
    "Note that the {key} is {value}.",
    "Keep in mind that my {key} is {value}.",
    "I want you to remember that my {key} is {value}.",
    "By the way, my {key} is {value}.",
    "Hello, my {key} is {value}.",
    "Hi! My {key} is {value}.",
    "My {key} is {value}. Please remember it.",
    "The {key} is {value}. Remember it.",
    "You should know that the {key} is {value}.",
    "My {key} is {value} and I live in {place}.",
    "My {key} is {value}, and I am glad that you help me.",
    "The {key} is {value}, do not forget it.",
    "Let me tell you something: my {key} is {value}.",
)
CHANGES = (
    "My {key} is now {value}.",
    "The {key} is now {value}.",
    "Remember: the {key} is now {value}.",
    "Now my {key} is {value}.",
)
ASKINGS = (
    "What is {the} {key}?",
    "What is {the} {key}?",
    "What is {the} {key}?",
    "What is {the} {key}?",
    "what is {the} {key}?",
    "what is {the} {key}",
    "What is {the} {key}",
    "What's {the} {key}?",
    "What was {the} {key}?",
    "And what is {the} {key}?",
    "So what is {the} {key}?",
    "Now tell me {the} {key}.",
    "Tell me {the} {key}.",
    "tell me {the} {key}",
    "Please tell me {the} {key}.",
    "Can you tell me {the} {key}?",
    "Do you remember {the} {key}?",
    "Do you know {the} {key}?",
    "What did I say {the} {key} is?",
    "Remind me: what is {the} {key}?",
    "Again, what is {the} {key}?",
    "Thanks. What is {the} {key}?",
    "Hello again! What is {the} {key}?",
)
REPEATS = (
    "Repeat after me: ",
    "Repeat after me: ",
    "Repeat after me: ",
    "repeat after me: ",
    "Please repeat after me: ",
    "Repeat: ",
    "Say: ",
)
COUNTS = ("Count to {n}.", "Count to {n}.", "count to {n}", "Please count to {n}.", "Count to {n}")


def _owned(key: str) -> bool:
    """Whether the key names its owner ("Bob's code", "agent-3's word") and takes no my or the."""
    owner, apostrophe, _ = key.partition("'s ")
    return bool(apostrophe) and (owner[0].isupper() or "-" in owner)


def _without_article(text: str, key: str) -> str:
    for article in ("My ", "my ", "The ", "the "):
        text = text.replace(article + key, key)
    return text


def tell(rng: Random, key: str, value: str, *, changed: bool = False) -> str:
    """A sentence that states the fact."""
    form = rng.choice(CHANGES if changed else TELLINGS)
    text = form.format(key=key, value=value, place=rng.choice(CITIES))
    return _without_article(text, key) if _owned(key) else text


def ask(rng: Random, key: str) -> tuple[str, str]:
    """A question for the fact, and the start of its answer up to the value."""
    mine = happens(rng, 0.62)
    question = rng.choice(ASKINGS).format(the="my" if mine else "the", key=key)
    if _owned(key):
        return _without_article(question, key), f"{key} is "
    return question, ("Your" if mine else "The") + f" {key} is "
