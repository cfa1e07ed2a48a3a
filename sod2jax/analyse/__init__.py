"""Analysis of jaxprs: symbolic shapes and values (`rdp`), operator classes (`classes`), lifetimes (`liveness`), reports (`explain`)."""
