"""Images scored as an evaluator scores them, without a network."""

from ignite.engine import Engine

from medssl.evaluation.images import ImageMetrics


def scored(path, made, **options):
    """The images through an engine, one a batch, as an evaluator does it."""
    scoring = ImageMetrics(path, num_classes=len(made[0][1]), **options)

    def predict(engine, pair):
        loaded, probs = pair
        engine.state.batch = [loaded]
        return [{"label_map": probs.argmax(0)[None], "pred": probs}]

    engine = Engine(predict)
    engine.logger.disabled = True  # of the traceback that ends in the line that is tested
    scoring.attach(engine)
    engine.run(made)
    return scoring, engine
