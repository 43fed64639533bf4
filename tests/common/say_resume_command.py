"""A program that says how to go on with it."""

from medssl.common.next_steps import resume_command

if __name__ == "__main__":
    print(resume_command())
