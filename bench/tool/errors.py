"""How these programs end when they can't go on."""


class BenchError(Exception):
    """Says what is wrong, and what to do."""

    def __init__(self, what, remedy=""):
        super().__init__(what)
        self.remedy = remedy

    def __str__(self):
        return f"error: {self.args[0]}" + (f"\nremedy: {self.remedy}" if self.remedy else "")
