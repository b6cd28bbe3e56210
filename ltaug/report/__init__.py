"""The report: what synthetic images gained, over arms and seeds, in words, tables and figures."""

from ltaug.report.build import build_report
from ltaug.report.document import Report

__all__ = ["Report", "build_report"]
