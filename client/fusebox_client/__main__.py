"""`python -m fusebox_client`: the command line."""

from fusebox_client.cli.main import main

if __name__ == "__main__":
    main()
