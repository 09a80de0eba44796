"""mlx-lm's own server, with the BLAS that our daemon would load: `python -m bench.stock_server`.

MKL uses as many threads as it likes: nothing in that server chooses.
"""

from semantic_actors.engine import blas

if __name__ == "__main__":
    blas.preload()  # before mlx is imported
    from mlx_lm import server

    server.main()
