# dev.py does the work; this is for fingers that type `make`. Further words: make demo ARGS=--all
.PHONY: demo test lint check bench docs install
demo test lint check bench docs install:
	@./dev.py $@ $(ARGS)
