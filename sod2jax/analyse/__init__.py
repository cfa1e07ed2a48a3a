"""Analysis of jaxprs: symbolic shapes and values (`rdp`), classes, lifetimes, reports."""
