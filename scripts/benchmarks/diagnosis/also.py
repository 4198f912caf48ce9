"""Names that are as right as the truth of a case as its first finding, with reasons; written before any report."""

_START = "the start is the cause of what is seen"
_STEPS = "fewer and smaller steps than were needed, whatever made them so"
_EDGE = "the loss stands still where the gradient does not vanish, because the steps are too long"
_FEW = {
    "minimum": "it is where the bad start ended",
    "dead_units": "of so few units one that is dead is the bad luck",
}

REASONS: dict[tuple[str, str], dict[str, str]] = {
    ("model_bias", "linear model"): {"minimum": "a convex loss at its optimum: nothing but another model is lower"},
    ("minimum", "convex"): {"model_bias": "a convex loss at its optimum: nothing but another model is lower"},
    ("minimum", "another frequency"): {
        "bad_initialization": "the family has a lower minimum, which only another start finds"
    },
    ("minimum", "at the low bump"): {
        "bad_initialization": "the family has a lower minimum, which only another start finds"
    },
    ("rate_too_large", "momentum"): {"stuck_not_critical": _EDGE},
    ("rate_too_large", "adam"): {"stuck_not_critical": _EDGE},
    ("rate_too_large", "momentum, saturating"): {
        "stuck_not_critical": _EDGE,
        "saturated_units": "measured: such steps saturate nine of ten units",
    },
    ("stuck_not_critical", "sign of the gradient"): {"rate_too_large": _EDGE},
    ("stuck_not_critical", "absolute error"): {"rate_too_large": _EDGE},
    ("rate_too_small", "adam"): {"undertrained": _STEPS},
    ("rate_too_small", "rmsprop"): {"undertrained": _STEPS},
    ("rate_too_small", "momentum"): {"undertrained": _STEPS},
    ("undertrained", "one epoch, modest rate"): {
        "rate_too_small": "measured: ten times the rate gets most of the way in the same epoch"
    },
    ("batch_too_large", "all examples"): {
        "undertrained": "an update an epoch: more of them, by longer training too, is the remedy",
        "rate_too_small": "the rate does not go with the batch: a larger one makes up for few updates",
    },
    ("saddle", "zero weights"): {"bad_initialization": _START},
    ("saddle", "zero weights, linear"): {"bad_initialization": _START},
    ("degenerate_plateau", "zero weights, deep"): {"bad_initialization": _START},
    ("degenerate_plateau", "product of three"): {"bad_initialization": _START},
    ("degenerate_plateau", "product of four"): {"bad_initialization": _START},
    **{("unlucky_start", units): _FEW for units in ("three units", "four units", "five units")},
    ("vanishing_gradients", "sigmoids"): {
        "degenerate_plateau": "where gradients vanish through layers, so do curvatures"
    },
    ("vanishing_gradients", "small tanh layers"): {
        "bad_initialization": _START,
        "degenerate_plateau": "where gradients vanish through layers, so do curvatures",
    },
    ("exploding_gradients", "large weights, deep"): {"bad_initialization": _START},
    ("exploding_gradients", "recurrence"): {"bad_initialization": _START},
    ("exploding_gradients", "residual sums"): {"bad_initialization": _START},
    ("dead_units", "negative biases"): {"bad_initialization": _START},
    ("dead_units", "huge first steps"): {"rate_too_large": "the first steps killed the units"},
    ("saturated_units", "large weights"): {"bad_initialization": _START},
    ("saturated_units", "huge first steps"): {"rate_too_large": "the first steps drove the units there"},
    ("bad_initialization", "ten times"): {"exploding_gradients": "weights ten times as large make gradients explode"},
    ("bad_initialization", "a hundredth"): {
        "vanishing_gradients": "weights a hundredth as large make gradients vanish",
        "degenerate_plateau": "so do curvatures: it starts near the plateau of zero weights",
    },
    ("bad_initialization", "identical units"): {"saddle": "equal units stand at a saddle, which no gradient leaves"},
    ("saturated_loss", "softmax squared error"): {"bad_initialization": _START},
    ("saturated_loss", "sigmoid squared error"): {"bad_initialization": _START},
    ("non_finite", "momentum without a bound"): {"rate_too_large": "the rate is why it is not finite"},
}
