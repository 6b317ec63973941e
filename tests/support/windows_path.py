"""How Windows programs under Wine are told of a file."""


def windows_path(path):
    return "Z:" + str(path).replace("/", "\\")
