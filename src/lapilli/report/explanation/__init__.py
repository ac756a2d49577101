"""One answer explained on one page: from the folder that `explain` writes to one self-contained file.

`schema.json` and `bundle` define and check the content of the folder, `explain.js` and `explain.css` draw it in any
host, and `page` puts both into one file.
"""
