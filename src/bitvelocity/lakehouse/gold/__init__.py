"""Gold: tables computed from silver by models, SQL files that declare what comes out."""

from .binding import bind_models, load_models
from .gold import Gold
from .model import Model, ModelColumn, read_model
from .passes import GoldReceipt
from .planner import InputPlan, Plan, plan_models
from .portability import LintWarning, lint
from .silver import Changes, Silver
from .verify import ModelVerdict, RowDifference

__all__ = [
    "Changes", "Gold", "GoldReceipt", "InputPlan", "LintWarning", "Model", "ModelColumn", "ModelVerdict",
    "Plan", "RowDifference", "Silver", "bind_models", "lint", "load_models", "plan_models", "read_model",
]  # fmt: skip
