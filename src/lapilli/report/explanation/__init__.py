"""One answer explained on one page: from the folder that `explain` writes to a file that needs nothing else.

`schema.json` and `bundle` say what the folder holds and hold it to its sums, `explain.js` and `explain.css` draw it in
any host, and `page` puts both into one file.
"""
