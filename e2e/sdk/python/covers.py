"""Which public methods of the SDKs a test is about. scripts/e2b-compatibility reads it, without running anything."""


def covers(*methods, differs=None, not_offered=None):
    """Names methods as `Class.method`, and one option of a method as `Class.method(option)`.

    The asynchronous classes go by the synchronous ones' names, since every test drives both. `differs` says how Hearth's
    answer differs from what E2B documents; `not_offered` says what is answered instead.
    """
    assert methods and not (differs and not_offered)
    return lambda test: test
