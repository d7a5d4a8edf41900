"""Old name of `lit_lul.report.rows`, until the studies use the new one."""

from lit_lul.report.rows import (  # noqa: F401
    DEVICE,
    Numbers,
    Precision,
    R,
    Row,
    RowFile,
    autocast,
    digest,
    rule_key,
)
