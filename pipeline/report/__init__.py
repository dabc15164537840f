"""The page that shows what came out of a run: is the detector good enough, and where does it fail?

The facts are computed once, by the component `Report` at the end of the DAG, from what the other
components have recorded: the detections are those that the Evaluator judged
(`pipeline.shipping.judged_pictures`), so nothing on the page can differ from the verdict, and no
file runs twice. Its artifact holds

    report.json    the facts with their pictures, see `facts`
    report.html    the page, made of them

and exists whether or not anything was pushed. What only the runner knows, such as the time of the
whole run and its lineage, comes in when it writes the page once more into the folder of the run
(`run_page`); a run that failed gets a page, too. `python -m pipeline.report RUN` makes that page
again, and with two runs, a comparison.

Pages are one file of HTML that loads nothing: pictures are JPEG data URIs, chosen by a budget of
bytes, and boxes are drawn over them as SVG, so that they stay crisp when enlarged.
"""
