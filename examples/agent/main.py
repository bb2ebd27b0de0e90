"""An agent whose code runs in a sandbox: smolagents with its own executor for E2B, both as PyPI has them.

All of it is real but the model, which is a script: it gives the answers below whatever it is asked, so that neither a key nor a
service is needed. Any other model of smolagents can stand in its place.
"""

from smolagents import ChatMessage, CodeAgent, LogLevel, MessageRole, Model, tool

TASK = "On which day do most visitors come in an hour, and how many?"
VISITS = {"day": ["Thursday", "Friday", "Saturday"], "visitors": [280, 360, 330], "hours": [7, 10, 6]}

# What a model would write. The second answer has a mistake, and the third goes on with what the first one left in the sandbox.
ANSWERS = [
    """Thought: I look at the data first.
<code>
import pandas
table = pandas.DataFrame(visits)
print(table)
</code>""",
    """Thought: Now I take the day with the highest rate.
<code>
table["rate"].max()
</code>""",
    """Thought: There is no such column yet. I work it out, and say where.
<code>
import socket
table["rate"] = [per_hour(*row) for row in zip(table["visitors"], table["hours"])]
best = table.loc[table["rate"].idxmax()]
final_answer({"day": best["day"], "visitors_per_hour": best["rate"], "sandbox": socket.gethostname()})
</code>""",
]


class ScriptedModel(Model):
    """Gives fixed answers in their order."""

    def __init__(self, answers):
        super().__init__(model_id="script")
        self._answers = iter(answers)

    def generate(self, messages, **options):
        return ChatMessage(role=MessageRole.ASSISTANT, content=next(self._answers))


@tool
def per_hour(visitors: int, hours: int) -> float:
    """Gives how many visitors come in an hour. The agent sends this function's source to the sandbox.

    Args:
        visitors: How many came on the day.
        hours: For how many hours of it the doors were open.
    """
    return visitors / hours


def show(step):
    """What the agent ran, and what it was told of it."""
    print(f"--- step {step.step_number}\n{step.code_action}")
    if step.error:
        # Behind the error's name and value there is all of the traceback.
        name, value = step.error.message.partition("yielded an error:\n")[2].splitlines()[:2]
        print(f"failed: {name}: {value}")
    else:
        print(step.observations)


def main():
    # What a model writes need not reach anything.
    sandbox = {"timeout": 300, "allow_internet_access": False, "metadata": {"example": "agent"}}
    model = ScriptedModel(ANSWERS)
    with CodeAgent(
        [per_hour],
        model,
        executor_type="e2b",
        executor_kwargs=sandbox,
        step_callbacks=[show],
        verbosity_level=LogLevel.OFF,
    ) as agent:
        print(f"--- the answer\n{agent.run(TASK, additional_args={'visits': VISITS})}")


if __name__ == "__main__":
    main()
